import { Controller, Get, NotFoundException, Param, ParseIntPipe } from '@nestjs/common';
import { QueryBudget } from 'nestjs-async-context';
import { type Customer, CustomersService } from './customers.service';

@Controller('customers')
@QueryBudget(5)
export class CustomersController {
  constructor(private readonly customers: CustomersService) {}

  @Get(':id')
  async find(@Param('id', ParseIntPipe) id: number): Promise<Customer> {
    const customer = await this.customers.find(id);
    if (customer === undefined) throw new NotFoundException(`There is no customer ${id}`);
    return customer;
  }
}
